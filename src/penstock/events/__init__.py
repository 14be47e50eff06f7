"""How services reach each other by themselves: the transactional outbox and its delivery worker. Knows no service."""
