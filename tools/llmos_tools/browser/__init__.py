"""The browser's tools: `browse`, `browse_click`, `browse_type`, `browse_back`, `browse_screenshot`.

Imports no playwright, since the kernel imports this at start-up to read what the tools are called.
"""

from llmos_tools.browser.tool import Browser

__all__ = ["Browser"]
