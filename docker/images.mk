# Targets for the two images: included by the Makefile. docker/README.md explains the settings.
ENGINE ?= docker
IMAGE_REPOSITORY ?= localhost/moist
IMAGE_VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' components/moist/__init__.py)
IMAGE_TAG ?= $(IMAGE_VERSION)
IMAGE_REVISION := $(shell git describe --always --abbrev=40 --dirty --exclude '*' 2>/dev/null || echo unknown)
# The remote's address without a user or token in front of the host.
IMAGE_SOURCE ?= $(shell git config --get remote.origin.url 2>/dev/null | sed -E 's|//[^/@]*@|//|' | grep . || echo unknown)
IMAGES := $(IMAGE_REPOSITORY)-slim:$(IMAGE_TAG) $(IMAGE_REPOSITORY)-train:$(IMAGE_TAG)
UV_COMPILE := uv pip compile --universal --python-version 3.11 --generate-hashes --override overrides.txt \
  --constraint requirements.lock --no-emit-index-url --custom-compile-command 'make lock-images' --quiet

.PHONY: images image-sizes lock-images

images:  ## build the slim and the training image, print their sizes
	@for target in slim train; do \
	  $(ENGINE) build --file docker/Dockerfile --target $$target --tag $(IMAGE_REPOSITORY)-$$target:$(IMAGE_TAG) \
	    $(if $(BASE),--build-arg BASE=$(BASE)) $(if $(PIP_INDEX_URL),--build-arg PIP_INDEX_URL=$(PIP_INDEX_URL)) \
	    --build-arg VERSION=$(IMAGE_VERSION) --build-arg REVISION=$(IMAGE_REVISION) \
	    --build-arg SOURCE=$(IMAGE_SOURCE) $(BUILD_FLAGS) . \
	    || { echo "moist-$$target was not built. Where the base cannot be pulled: docker/README.md" >&2; exit 1; }; \
	done
	@$(MAKE) --no-print-directory image-sizes

image-sizes:  ## sizes of the built images, in MB
	@ENGINE=$(ENGINE) docker/sizes.sh $(IMAGES)

lock-images:  ## rewrite docker/requirements-*.lock from pyproject.toml and requirements.lock (needs uv)
	$(UV_COMPILE) pyproject.toml --output-file docker/requirements-slim.lock
	$(UV_COMPILE) pyproject.toml --extra train --extra export --output-file docker/requirements-train.lock
	sed -n 's/^requires = \["\(.*\)"\]$$/\1/p' pyproject.toml | $(UV_COMPILE) - --output-file docker/requirements-build.lock
