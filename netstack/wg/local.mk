# Sources and unit tests of netstack/wg.
