"""The site of a community: published figures and submitted results, by generation and by probe."""
