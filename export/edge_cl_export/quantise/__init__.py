"""From a float file to a smaller one: ranges, integers, half precision."""
