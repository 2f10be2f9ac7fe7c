# make demo   sets up everything and runs the main job on a real image
# make test   sets up everything and runs the checks and tests (CI runs this)
# make soak   what takes longer than CI allows
# make setup  only installs and builds
NODE := node_modules/.bin/node --disable-warning=ExperimentalWarning

.PHONY: setup test demo soak bench format
setup:
	@tools/setup.sh

test:
	@tools/setup.sh test
	$(NODE) tools/check.ts
	$(NODE) tools/test.ts 'src/**/*.test.ts' 'test/**/*.test.ts'

demo:
	@tools/setup.sh test
	@$(NODE) examples/demo/demo.ts

soak:
	@tools/setup.sh test
	$(NODE) tools/test.ts 'test/**/*.soak.ts'

bench:
	@tools/setup.sh test
	$(NODE) bench/main.ts

format:
	node_modules/.bin/biome check --write src test tools bench examples
