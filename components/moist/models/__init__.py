"""Networks: teachers, students, routers and their mixtures, and what they cost. No I/O beyond a model's own folder."""
