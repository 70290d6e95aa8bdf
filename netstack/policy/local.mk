# Sources and unit tests of netstack/policy.
