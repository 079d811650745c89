"""Start the Discord bot: `uv run bot.py`; `uv run bot.py sync` registers its commands again."""

import sys

if __name__ == "__main__":  # worker processes import this file again and must not start a bot
    from bot.app import main

    sys.exit(main())
