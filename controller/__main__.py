"""`python -m controller` is the same program as `assay`."""

from controller.cli import main

if __name__ == "__main__":
    main()
