# The demo portal for compose.yml; nothing of it is needed to embed the app.
FROM python:3.13-slim
WORKDIR /portal
COPY requirements/run.txt requirements/
RUN pip install --no-cache-dir -r requirements/run.txt
COPY manage.py ./
COPY uploads uploads
COPY portal portal
COPY templates templates
RUN useradd --system portal && mkdir /data && chown portal /data
USER portal
ENV DATA_DIR=/data MALLOC_ARENA_MAX=1 MALLOC_MMAP_THRESHOLD_=67108864 MALLOC_TRIM_THRESHOLD_=67108864
CMD ["gunicorn", "portal.wsgi", "--worker-class", "gthread", "--bind", "0.0.0.0:8000", "--workers", "2", "--threads", "32", "--timeout", "120", "--keep-alive", "15"]
