"""Changes under load, for every mesh and form: what callers get, whether counters continue, and what a proxy does that
starts right after the change."""
import contextlib
import re
import time
from concurrent.futures import ThreadPoolExecutor

from cluster import Failed, minute, wait
from istio_gateway import redis_counted
from kubelet import Load
from report import expect

SECONDS, SETTLE, RATE = 7, 2, 40   # of a load: its length, the time before the change, requests a second


class Place:
    """A proxy that counts, its callers, and how to start another proxy like it. `name` is for the table."""
    name, admin = "", 15000
    patience = 60                  # seconds until a new proxy that is not ready is called so; on a busy machine 20 are too few

    def client(self):
        """A client with a full quota."""
        raise NotImplementedError

    def another(self):
        """A client whose quota a few calls do not use up."""
        return self.client()

    def ask(self, client, amount, pod=None):
        """Requests of one client, as fast as answers come."""
        raise NotImplementedError

    def warm(self):
        """What a place needs after its filter was put in."""

    def load(self, seconds):
        """Requests at RATE, of clients whose quotas they do not use up."""
        raise NotImplementedError

    def start(self):
        """Another proxy."""
        raise NotImplementedError

    def ready(self, pod, seconds):
        return pod.ready(seconds)

    def limit(self):
        """The limit that a client's answer names, if any."""
        seen = self.ask(self.probe, 1)["last"]
        return next((one["headers"].get("x-ratelimit-limit") for one in seen.values()), None)

    def counts(self, pod=None):
        """Whether requests are counted by Redis."""
        return self.ask(self.another(), 1, pod)["kinds"].get("passed") and redis_counted(pod or self.pod, self.admin)

    def fresh(self):
        """What a proxy does that starts now."""
        pod = self.start()
        try:
            is_ready = self.ready(pod, self.patience)
            before = redis_counted(pod, self.admin)
            result = self.ask(self.another(), 10, pod)
            by = ""
            if result["kinds"].get("passed"):
                try:   # the filter hands its metrics on once a second
                    wait("metrics", lambda: redis_counted(pod, self.admin) > before, 5)
                    by = ", counted by Redis"
                except Failed:
                    by = ", not counted by Redis"
            return f"{'ready' if is_ready else 'not ready'}; {result['statuses']}{by}"
        finally:
            pod.end()


class Edge(Place):
    """A gateway: clients are API keys of callers outside."""
    def __init__(self, name, pod, port, start):
        self.name, self.pod, self.port, self.start = name, pod, port, start
        self.probe, self.number = "probe", 0    # `probe` is for what a denied answer shows as well

    def client(self):
        self.number += 1
        return f"client-{self.number}-{time.monotonic_ns()}"

    def ask(self, client, amount, pod=None):
        return Load((pod or self.pod).address, self.port, "shop.example", amount, 0, f"x-api-key={client}").result()

    def load(self, seconds):
        # 40 clients with 60 requests a minute each.
        return Load(self.pod.address, self.port, "shop.example", f"{seconds}s", RATE, f"x-api-key={{n}}-{self.client()}")


class Outcome:
    def __init__(self, place, result, continues, fresh):
        self.place, self.result, self.continues, self.fresh = place, result, continues, fresh
        self.kinds, self.statuses = result["kinds"], result["statuses"]


class Changes:
    """One form of the filter in running proxies."""
    def __init__(self, report, form, places):
        self.report, self.form, self.places = report, form, places
        # Threads that live on: Envoy ends with the thread that started it.
        self.pool = ThreadPoolExecutor(len(places))

    def each(self, work):
        """`work` for each place, at the same time."""
        return list(self.pool.map(work, self.places))

    def policy(self, *changes):
        """Applies the manifests with the filter, changed; without a change, as they are shipped."""
        raise NotImplementedError

    def call(self):
        """Applies redis-call.yaml."""
        raise NotImplementedError

    @contextlib.contextmanager
    def test(self, name):
        """A test after which the shipped manifests are in place again."""
        with self.report.test(name):
            try:
                yield
            finally:
                self.call()
                self.policy()
                self.settle()

    def settle(self, limit="100"):
        """Waits until the policy with this limit is in place everywhere."""
        wait(f"the limit {limit}", lambda: all(one == limit for one in self.each(lambda place: place.limit())))

    def under_load(self, what, change, seconds=SECONDS, starts=True, limit=100):
        """The change two seconds into a load, while one client's counter shows whether it continues: 40 calls before and,
        with a limit of 100, 65 after, of which 60 may pass. A new limit is at most 100, too: above that `algorithm: auto`
        counts in another form, which starts anew."""
        minute(seconds + 20)
        clients = self.each(lambda place: place.client())
        before = self.each(lambda place: place.ask(clients[self.places.index(place)], 40)["kinds"])
        loads = [place.load(seconds) for place in self.places]
        time.sleep(SETTLE)
        change()
        results = [load.result() for load in loads]
        after = self.each(lambda place: place.ask(clients[self.places.index(place)], limit - 35)["kinds"])
        fresh = self.each(lambda place: place.fresh()) if starts else [""] * len(self.places)
        outcomes = []
        for number, place in enumerate(self.places):
            as_expected = (before[number], after[number]) == ({"passed": 40}, {"passed": limit - 40, "denied": 5})
            continues = "yes" if as_expected else f"no: {before[number]}, {after[number]}"
            self.report.row(place.name, self.form, what, results[number], continues, fresh[number])
            outcomes.append(Outcome(place, results[number], continues, fresh[number]))
        return outcomes

    def new_policy(self):
        """A new policy loses nothing, also for a proxy that starts then."""
        found = self.under_load("a new policy", lambda: self.policy(rate("90/minute")), limit=90)
        nothing_lost(found, "a new policy")
        works(found, "a new policy")
        self.settle("90")

    def mended_policy(self):
        """A good policy after a refused one loses nothing."""
        found = self.under_load("the policy mended", lambda: self.policy(rate("90/minute")), limit=90, starts=False)
        nothing_lost(found, "the policy mended")
        self.settle("90")

    def new_version_and_back(self, call, policy):
        """The next module, given by `call` to redis-call.yaml and by `policy` to the filter, and the way back lose nothing."""
        for what, change in (("a new version, redis-call.yaml first", call), ("then the filter", policy),
                             ("rolled back, the filter first", self.policy), ("then redis-call.yaml", self.call)):
            found = self.under_load(what, change)
            nothing_lost(found, what)
            works(found, what)

    def away_at_start(self, redis_down, redis_up):
        """Proxies that start while Redis is away are ready and count locally, and by Redis once it is back."""
        def local(place):
            pod = place.start()
            expect(place.ready(pod, 40), f"{place.name}: a proxy is ready without Redis:\n{pod.log.read_text(errors='replace')[-1500:]}")
            result = place.ask(place.client(), 105, pod)
            self.report.row(place.name, self.form, "Redis is away when a proxy starts", result, "", "counts locally")
            expect(result["kinds"] == {"passed": 100, "denied": 5}, f"{place.name}: counted locally: {result['kinds']}")
            return pod

        redis_down()
        try:
            pods = self.each(local)
        finally:
            redis_up()
        for place, pod in zip(self.places, pods):
            wait("Redis counts again", lambda: place.counts(pod), 40, log=pod.log)
            pod.end()


def rate(value):
    """A change of a manifest: another rate for the limit per client or per peer."""
    def change(text):
        found, number = re.subn(r"(name: per-client, |name: per-peer\n +)rate: 100/minute", rf"\g<1>rate: {value}", text)
        if number != 1:
            raise Failed("the manifest has no limit per client of 100/minute")
        return found
    return change


def both(*changes):
    """Changes of a manifest's text, one after the other."""
    def change(text):
        for one in changes:
            text = one(text)
        return text
    return change


def replace(old, new):
    """A change of a manifest that has `old`."""
    def change(text):
        if old not in text:
            raise Failed(f"the manifest does not have {old}")
        return text.replace(old, new)
    return change


def nothing_lost(outcomes, what):
    for one in outcomes:
        expect(not one.kinds.get("lost") and not one.kinds.get("uncounted"),
               f"{one.place.name}, {what}: none lost and none uncounted: {one.kinds} {one.statuses}")
        expect(one.continues == "yes", f"{one.place.name}, {what}: the counters continue: {one.continues}")


def works(outcomes, what):
    """A proxy that started then is ready and counts."""
    for one in outcomes:
        expect(one.fresh == "ready; {'200': 10}, counted by Redis", f"{one.place.name}, {what}, a proxy that starts: {one.fresh}")
