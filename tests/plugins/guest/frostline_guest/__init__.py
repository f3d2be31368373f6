"""A PAT, a head, a stream and a backbone from outside; each file is a template for one of them."""
