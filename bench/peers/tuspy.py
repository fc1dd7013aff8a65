"""tuspyserver, a tus server for FastAPI, on files: tuspy:app under uvicorn."""

import os

from fastapi import FastAPI
from tuspyserver import create_tus_router

app = FastAPI()
app.include_router(create_tus_router(files_dir=os.environ["BENCH_DIRECTORY"], prefix="files"))
