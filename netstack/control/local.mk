# Sources and unit tests of netstack/control.
