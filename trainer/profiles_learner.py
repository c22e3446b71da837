"""The profiles of all endpoints of one workload, and of what is sent everywhere alike, from lessons (`lesson.py`). Mergeable."""

from trainer.fit_parameters import EndpointProfileLearner, SharedLearner
from trainer.lesson import SHARED, Lesson
from trainer.names_learner import NamesLearner
from trainer.shape import to_combination

__all__ = ["ProfilesLearner"]


class ProfilesLearner:
    """Gives each part of a lesson to the learner that it is for."""

    def __init__(self) -> None:
        self.endpoints: dict[str, EndpointProfileLearner] = {}
        self.shared = SharedLearner()

    def learn(self, lesson: Lesson) -> None:
        """Learn what teaching calls say, each by itself."""
        for endpoint, key, look, support in lesson.looks():
            self._names(endpoint).add_look(key, look, support)
        for endpoint, key, bucket, support in lesson.numbers():
            if (learner := self._names(endpoint).learners.get(key)) is not None:
                learner.add_number(bucket, support)
        for endpoint, key, values in lesson.values():
            if (learner := self._names(endpoint).learners.get(key)) is not None:
                learner.add_values(values)
        for endpoint, number, succeeded, support in lesson.forms():
            form = lesson.batch.forms[number]
            self.shared.add_flags(form.flags, support)
            self._endpoint(endpoint).add_form(to_combination(form.keys), form.body, form.flags, support, succeeded=succeeded)
        for support in lesson.calls():
            self.shared.total = self.shared.total.plus(support)

    def merge(self, other: "ProfilesLearner") -> None:
        """Take over another's calls; the other stays as it is."""
        for endpoint, profile in other.endpoints.items():
            self._endpoint(endpoint).merge(profile)
        self.shared.merge(other.shared)

    def _endpoint(self, endpoint: str) -> EndpointProfileLearner:
        profile = self.endpoints.get(endpoint)
        if profile is None:
            profile = self.endpoints[endpoint] = EndpointProfileLearner()
        return profile

    def _names(self, endpoint: str) -> NamesLearner:
        return self.shared.names if endpoint == SHARED else self._endpoint(endpoint).names
