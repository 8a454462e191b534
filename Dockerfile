# One image, one package, three roles: `assay serve [--webhook] [--operator] [--inventory]`.
# Build: docker build -t assay .
FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements.lock ./
RUN python -m venv /opt/assay && /opt/assay/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY controller ./controller
RUN /opt/assay/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.13-slim
LABEL org.opencontainers.image.title="Assay" \
      org.opencontainers.image.description="No image runs without evidence" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/assay /opt/assay
ENV PATH=/opt/assay/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 XDG_STATE_HOME=/var/lib
RUN install -d -o 65532 -g 65532 -m 0700 /var/lib/assay
USER 65532:65532
VOLUME /var/lib/assay
EXPOSE 8443
ENTRYPOINT ["assay"]
CMD ["serve"]
