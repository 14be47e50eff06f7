"""Answers with a greeting: the smallest function there is."""


def handler(event, context):
    """event: {"name": "..."}; anything else greets the world."""
    name = event.get("name", "world")
    print(f"greeting {name}, {context.get_remaining_time_in_millis()} ms left")
    return {"message": f"Hello, {name}!"}
