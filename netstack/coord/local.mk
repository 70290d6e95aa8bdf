# Sources and unit tests of netstack/coord.
