"""Write the schema files anew and remove those that no model stands behind."""

from events.schemas import FOLDER, render

if __name__ == "__main__":
    files = render()
    for stale in set(FOLDER.glob("*.json")) - {FOLDER / name for name in files}:
        stale.unlink()
    for name, text in files.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
