"""Photos become a searchable, durable gallery."""
