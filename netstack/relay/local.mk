# Sources and unit tests of netstack/relay.
