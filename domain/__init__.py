"""What is true about candidates and pools: events, decisions, standing. Pure; nothing here does I/O."""
