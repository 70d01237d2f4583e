"""`python -m ops.cli` is `rssi`."""

from ops.cli.main import main

if __name__ == "__main__":
    main()
