"""Reports: tables and figures -> one self-contained HTML page each, and the citation files."""
