"""The report of a study: its trials are analysed, drawn and written as a page and tables."""
