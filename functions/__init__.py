"""The cloud side: one file per Lambda, each a thin handler over adapters and a pure core."""
