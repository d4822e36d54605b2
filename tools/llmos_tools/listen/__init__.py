"""The tool `listen`: speech to text. Knows no microphone."""
