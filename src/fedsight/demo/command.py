"""`fedsight demo`: a collector, a federation, and the dashboard to watch it in."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

import fedsight
from fedsight.errors import FedsightError, MissingExtra

DEFAULT_PORT = 8083
CLIENTS_START_SEC = 120.0
