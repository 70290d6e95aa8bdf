EXTRA_DIST += contrib/packages contrib/lib.sh contrib/check contrib/quickstart contrib/demo.py contrib/bench \
	contrib/meshd.default contrib/meshd.service.in

systemdsystemunit_DATA = contrib/meshd.service
CLEANFILES += contrib/meshd.service
contrib/meshd.service: contrib/meshd.service.in Makefile
	$(AM_V_GEN)$(MKDIR_P) $(@D) && sed 's|@sbindir[@]|$(sbindir)|g' $(srcdir)/contrib/meshd.service.in >$@

EXTRA_DIST += contrib/policies/relay-by-tag.hujson contrib/policies/relay-per-region.hujson \
	contrib/policies/self-relay.hujson
