"""The server of `weightgen.server.run`: one FastAPI app, run by uvicorn or as a Ray Serve deployment.

limits.py      what one visitor may ask for         problems.py   errors as one line of JSON
schemas.py     what goes in and out                 engine.py     prompts -> adapters -> edited photographs
batching.py    prompts that wait together           adapters.py   adapters by id: cached, generated, of the zoo, of jobs
photos.py      uploads -> pixels                    neighbours.py the zoo's nearest concepts
finetuning/    jobs, each in its own process        admission.py  back-pressure, time limits, cancelled requests
guard.py       request ids, log, token              measures.py   Prometheus figures
services.py    what the routes share                routes.py, app.py, page/ (the page at /)
"""
