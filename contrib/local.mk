EXTRA_DIST += contrib/packages contrib/lib.sh contrib/check
