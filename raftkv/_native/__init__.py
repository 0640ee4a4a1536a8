"""Native parts: each is a .pyx, a commented .pxd, a .pyi and a plain-Python twin."""
