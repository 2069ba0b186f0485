"""Files that other tools wrote, turned into journals."""
