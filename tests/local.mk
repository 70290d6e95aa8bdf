check_LIBRARIES += tests/libtest.a
tests_libtest_a_SOURCES = \
	tests/unit/testing.c tests/unit/testing.h

dist_check_SCRIPTS += \
	tests/check-layers \
	tests/check-listed \
	tests/check-pure \
	tests/check-size
EXTRA_DIST += tests/vectors tests/pure.allow tests/size.allow tests/codespell.ignore
