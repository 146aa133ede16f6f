"""`python -m pretraining qwen2vl --out FOLDER`: see `pretraining.recipe`."""

from pretraining.recipe import main

if __name__ == "__main__":
    main()
