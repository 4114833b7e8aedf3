"""Files of streamlines, scalar maps and transforms -> Bundle, Volume, points."""
