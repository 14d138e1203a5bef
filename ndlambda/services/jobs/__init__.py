"""Jobs of all kinds as one list: what runs, what failed, and what a person does about it."""
