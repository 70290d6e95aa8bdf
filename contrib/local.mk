EXTRA_DIST += contrib/packages
