"""The board: its record, its file, its arithmetic."""
