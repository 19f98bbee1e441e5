"""What one release wrote, the next one reads; and the other way round it says that it cannot."""
