"""tuspyserver, a tus server for FastAPI, on files; uvicorn serves ``tuspy:app``."""

import os

from fastapi import FastAPI
from tuspyserver import create_tus_router

app = FastAPI()
app.include_router(create_tus_router(files_dir=os.environ["BENCH_DIRECTORY"], prefix="files"))
