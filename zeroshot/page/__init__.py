"""Parts of the HTML page of results: markup, colours, text with marks, cards of events; style and behaviour beside."""
