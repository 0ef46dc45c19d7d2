"""Wave by wave onto robots, and back."""
