"""Peer: requests in a pool of threads, as one writes it.

    downloads.py N LIST DIRECTORY
"""
import concurrent.futures
import os
import sys
import threading

import requests

workers, directory = int(sys.argv[1]), sys.argv[3]
own = threading.local()


def fetch(url):
    if not hasattr(own, "session"):
        own.session = requests.Session()
        own.session.trust_env = False
    target = os.path.join(directory, url.rsplit("/", 1)[1])
    with own.session.get(url, stream=True, headers={"Accept-Encoding": "identity"}) as response:
        response.raise_for_status()
        with open(target + ".part", "wb") as file:
            for block in response.iter_content(65536):
                file.write(block)
    os.rename(target + ".part", target)


with open(sys.argv[2]) as lines:
    urls = lines.read().split()
with concurrent.futures.ThreadPoolExecutor(workers) as pool:
    for _ in pool.map(fetch, urls):
        pass
