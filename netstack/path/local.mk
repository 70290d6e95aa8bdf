# Sources and unit tests of netstack/path.
