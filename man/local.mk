# Manual pages; tests/check-man holds them against mandoc and the tables of flags.
dist_man_MANS += man/meshctl.8 man/meshd.8 man/meshd.conf.5
dist_check_SCRIPTS += tests/check-man
