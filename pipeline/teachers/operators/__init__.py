"""The filters teacher's image operators, by what they look at."""
