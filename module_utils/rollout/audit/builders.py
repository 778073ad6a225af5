"""Following a builder from ``.from(…)`` or ``.rpc(…)`` to where its answer is used.

Calls in a row, variables that are extended under conditions, functions that a builder is given to or returned from,
callbacks that receive one. Builders change in place (postgrest-js 1 keeps one URL object), so a filter that is called
for its effect alone counts, too.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ansible.module_utils.rollout.audit import branches, parameters
from ansible.module_utils.rollout.audit.declarations import function_name
from ansible.module_utils.rollout.audit.evaluation import Evaluator
from ansible.module_utils.rollout.audit.responses import Usage, use_answer, use_callback, use_element
from ansible.module_utils.rollout.audit.syntax import (
    FUNCTIONS,
    Binding,
    SourceFile,
    arguments_of,
    key_text,
    parameters_of,
    unwrap,
)
from ansible.module_utils.rollout.audit.values import Frame, Function, Place, brief, options
from tree_sitter import Node

MAX_FORKS = 40
OPERATION_METHODS = frozenset({"select", "insert", "update", "upsert", "delete"})
_PROMISE_METHODS = frozenset({"then", "catch", "finally"})


@dataclass(frozen=True, eq=False)
class Link:
    """One method called on the builder."""

    method: str
    place: Place
    conditional: bool


@dataclass(eq=False)
class Request:
    """What a builder collects on its way.

    :ivar caller: the call that fixed parameters of the function that the builder is made in
    :ivar properties: names read from the builder that are not called: a mock's ``select.mockReturnValue``
    """

    links: list[Link] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    caller: Place | None = None
    properties: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    visited: set[tuple[str, int]] = field(default_factory=set)
    depth: int = 0

    @property
    def has_operation(self) -> bool:
        """Whether select, insert, update, upsert, delete or rpc was called."""
        return any(link.method in OPERATION_METHODS or link.method == "rpc" for link in self.links)

    def fork(self) -> Request:
        """A copy that goes its own way."""
        return Request(
            list(self.links),
            self.usage.copy(),
            self.caller,
            list(self.properties),
            list(self.notes),
            set(self.visited),
            self.depth + 1,
        )


class Follower:
    """Follows builders; one :class:`Request` a way that one can be finished."""

    def __init__(self, evaluator: Evaluator) -> None:
        self.evaluator = evaluator
        self._sites: dict[Frame, Place] = {}
        self._finished: list[Request] = []

    def follow(self, file: SourceFile, call: Node, method: str) -> list[Request]:
        """Every request that a builder which is made at a call can become."""
        self._finished = []
        self._sites = {}
        request = Request([Link(method, Place(file, call), False)])
        if self._expression(Place(file, call), request, False):
            self._finished.append(request)
        return self._finished or [request]

    # Every step returns whether the request is still its caller's to report: a fork reports itself.

    def _expression(self, place: Place, request: Request, conditional: bool) -> bool:
        """Follow the value of an expression, which is the builder."""
        file, frame = place.file, place.frame
        node = file.outside(place.node)
        above = file.parent(node)
        while above is not None and above.type in ("member_expression", "subscript_expression"):
            receiver = above.child_by_field_name("object")
            if receiver is None or receiver.id != node.id:
                break
            key = above.child_by_field_name("property") or above.child_by_field_name("index")
            name = (key_text(file, key) if key is not None else None) or "?"
            access = file.outside(above)
            call = file.parent(access)
            callee = call.child_by_field_name("function") if call is not None else None
            if call is None or call.type != "call_expression" or callee is None or callee.id != access.id:
                request.properties.append(name)
                request.usage.lost = True
                return True
            if name in _PROMISE_METHODS:
                self._promise(file, name, call, request)
                return True
            request.links.append(Link(name, Place(file, call, frame), conditional))
            node = file.outside(call)
            above = file.parent(node)
        return self._destination(Place(file, node, frame), above, request, conditional)

    def _promise(self, file: SourceFile, name: str, call: Node, request: Request) -> None:
        arguments = arguments_of(call)
        if name == "then" and arguments:
            use_callback(file, arguments[0], request.usage)
            return
        # .catch() and .finally() pass the answer on.
        self._answer(Place(file, call), request)

    def _destination(self, place: Place, above: Node | None, request: Request, conditional: bool) -> bool:
        file, node = place.file, place.node
        kind = above.type if above is not None else ""
        if above is None:
            return True
        if kind == "await_expression":
            self._answer(Place(file, above, place.frame), request)
        elif kind == "variable_declarator":
            name = above.child_by_field_name("name")
            binding = file.resolve(name) if name is not None and name.type == "identifier" else None
            if binding is not None:
                return self._variable(file, binding, above, place.frame, request, conditional)
            request.usage.lost = True
        elif kind == "assignment_expression":
            return self._assigned(place, above, request, conditional)
        elif kind == "arguments":
            call = file.parent(above)
            if call is not None:
                return self._argument(place, call, request, conditional)
        elif kind == "return_statement" or (kind == "arrow_function" and _is_body(above, node)):
            function = above if kind == "arrow_function" else file.function_around(above)
            if function is not None:
                return self._returned(place, function, request, conditional)
        elif kind == "array":
            self._element(place, above, request)
        elif kind in ("ternary_expression", "binary_expression", "sequence_expression"):
            return self._expression(Place(file, above, place.frame), request, conditional)
        elif kind not in ("expression_statement", "if_statement", "unary_expression"):
            request.usage.lost = True
        return True

    def _answer(self, place: Place, request: Request) -> None:
        left = use_answer(place.file, place.node, request.usage)
        if left is None:
            return
        function = left if left.type == "arrow_function" else place.file.function_around(left)
        site = self._site(place.frame, function)
        if site is None:
            request.usage.escaped = True
            return
        awaited = place_of_await(site)
        self._answer(awaited, request)

    def _site(self, frame: Frame | None, function: Node | None) -> Place | None:
        """The call by which this reader came into a function."""
        if function is None or frame is None:
            return None
        inside = frame.of(function)
        return self._sites.get(inside) if inside is not None else None

    # -- variables -------------------------------------------------------------------------------

    def _variable(
        self,
        file: SourceFile,
        binding: Binding,
        start: Node,
        frame: Frame | None,
        request: Request,
        conditional: bool,
    ) -> bool:
        """The builder is in a variable: every use of it from there on, in the order of the text."""
        key = (file.path, binding.node.id)
        if key in request.visited:
            return True  # the loop that is at work on this variable comes to the rest
        request.visited.add(key)
        forks: list[Request] = []
        others: list[Node] = []
        splits = not request.has_operation and request.depth < MAX_FORKS
        reported = False
        for reference in file.references(binding):
            if reference.start_byte < start.start_byte and not branches.in_one_loop(file, reference, start):
                continue
            if start.type not in FUNCTIONS and start.start_byte <= reference.start_byte < start.end_byte:
                continue
            if branches.exclude_each_other(file, reference, start):
                continue
            assignment = _assignment_to(file, reference)
            if assignment is not None:
                if not _keeps(file, assignment, binding) and assignment.id != start.id:
                    if not branches.is_conditional(file, assignment, start):
                        break
                    others.append(assignment)
                continue
            if any(_reached_only_by(file, reference, other) for other in others):
                continue
            held = conditional or branches.is_conditional(file, reference, start)
            if splits:
                fork = request.fork()
                fork.visited.discard(key)
                if self._expression(Place(file, reference, frame), fork, False):
                    forks.append(fork)
                else:
                    reported = True
            elif not self._expression(Place(file, reference, frame), request, held):
                return False
        if not splits:
            return True
        finished = [fork for fork in forks if fork.has_operation]
        self._finished += finished
        if finished or reported:
            return False
        for fork in forks:
            request.links += [link for link in fork.links if link not in request.links]
            request.properties += fork.properties
            request.notes += [note for note in fork.notes if note not in request.notes]
            request.usage.lost = request.usage.lost or fork.usage.lost
        return True

    def _assigned(self, place: Place, assignment: Node, request: Request, conditional: bool) -> bool:
        file = place.file
        left = assignment.child_by_field_name("left")
        if left is None or left.id == place.node.id:
            return True
        if left.type == "identifier":
            binding = file.resolve(left)
            if binding is not None:
                return self._variable(file, binding, assignment, place.frame, request, conditional)
        request.usage.lost = True
        request.notes.append(f"the builder is kept in {brief(file.string(left))}")
        return True

    # -- functions -------------------------------------------------------------------------------

    def _argument(self, place: Place, call: Node, request: Request, conditional: bool) -> bool:
        """The builder is given to a function."""
        file = place.file
        callee = call.child_by_field_name("function") or call.child_by_field_name("constructor")
        arguments = arguments_of(call)
        index = next((i for i, node in enumerate(arguments) if node.id == place.node.id), 0)
        if callee is None:
            return True
        callee = unwrap(callee)
        name = file.string(callee)
        if name.endswith(".reduce") and index == 1:
            return self._reduced(place, call, request)
        if name in ("Promise.resolve", "Promise.race", "Promise.all"):
            return self._expression(Place(file, call, place.frame), request, conditional)
        binding = file.resolve(callee) if callee.type == "identifier" else None
        if (
            binding is not None
            and binding.kind == "param"
            and not binding.path
            and (place.frame is None or place.frame.of(binding.scope) is None)
        ):
            return self._callback(place, call, binding, index, request, conditional)
        for option in options(self.evaluator.value(Place(file, callee, place.frame))):
            if isinstance(option, Function):
                return self._into(option, place, call, index, request, conditional)
        request.usage.lost = True
        request.usage.sent = request.usage.sent or request.has_operation
        request.notes.append(f"the builder is given to {brief(name)}")
        return True

    def _reduced(self, place: Place, call: Node, request: Request) -> bool:
        """``list.reduce((q, item) => q.eq(…), builder)``: once for every element, so perhaps never."""
        receiver = unwrap(call.child_by_field_name("function") or call).child_by_field_name("object")
        given = self.evaluator.value(Place(place.file, arguments_of(call)[0], place.frame))
        for option in options(given):
            if isinstance(option, Function) and receiver is not None:
                over = self.evaluator.value(Place(place.file, receiver, place.frame))
                element = self.evaluator.element(over, "a loop over a list")
                inside = option.place
                frame = Frame(inside.node, (place, element), inside.frame or place.frame)
                self._sites[frame] = Place(place.file, call, place.frame)
                binding = _parameter(inside.file, inside.node, 0)
                if binding is not None:
                    return self._variable(inside.file, binding, inside.node, frame, request, True)
        request.usage.lost = True
        return True

    def _into(
        self, function: Function, place: Place, call: Node, index: int, request: Request, conditional: bool
    ) -> bool:
        """Into a function of the code base, as its parameter; what it returns is followed at the call."""
        inside = function.place
        outer = place.frame
        if outer is not None and outer.depth > MAX_FORKS // 4:
            request.usage.lost = True
            return True
        arguments = tuple(Place(place.file, node, place.frame) for node in arguments_of(call))
        frame = Frame(inside.node, arguments, inside.frame or outer, outer.depth + 1 if outer else 1)
        self._sites[frame] = Place(place.file, call, place.frame)
        binding = _parameter(inside.file, inside.node, index)
        if binding is None:
            request.usage.lost = True
            return True
        return self._variable(inside.file, binding, inside.node, frame, request, conditional)

    def _callback(
        self, place: Place, call: Node, binding: Binding, index: int, request: Request, conditional: bool
    ) -> bool:
        """``callback(builder)``, where callback is a parameter: into each function that callers give."""
        file = place.file
        sites, _ = parameters.call_sites(self.evaluator, file, binding.scope)
        followed = False
        for site in sites:
            arguments = arguments_of(site.node)
            if binding.index >= len(arguments):
                continue
            given = self.evaluator.value(Place(site.file, arguments[binding.index], site.frame))
            for option in options(given):
                if not isinstance(option, Function):
                    continue
                frame = Frame(
                    binding.scope,
                    tuple(Place(site.file, node, site.frame) for node in arguments),
                    place.frame,
                )
                self._sites[frame] = site
                fork = request.fork()
                fork.caller = site
                _rebind(fork, file, binding.scope, frame)
                within = Place(file, place.node, frame)
                if self._into(option, within, call, index, fork, conditional):
                    self._finished.append(fork)
                followed = True
        if followed:
            return False
        request.usage.lost = True
        request.notes.append(f"the builder is given to {file.string(binding.node)}, a parameter")
        return True

    def _returned(self, place: Place, function: Node, request: Request, conditional: bool) -> bool:
        """The builder is what a function returns."""
        file = place.file
        site = self._site(place.frame, function)
        is_async = any(child.type == "async" for child in function.children)
        if site is not None:
            if is_async:
                self._answer(place_of_await(site), request)
                return True
            return self._expression(site, request, conditional)
        outer = file.parent(file.outside(function))
        if outer is not None and outer.type == "arguments":
            return self._given_function(place, function, outer, request, conditional)
        key = (file.path, -function.id)
        if key in request.visited or request.depth > MAX_FORKS:
            request.usage.lost = True  # a function that calls itself
            return True
        request.visited.add(key)
        sites, complete = parameters.call_sites(self.evaluator, file, function)
        if not sites and not request.has_operation:
            sites = parameters.call_sites_elsewhere(self.evaluator, file, function)
        extended = [site for site in sites if _continues(site) and not is_async]
        request.usage.sent = request.usage.sent or is_async
        if not sites or (request.has_operation and not extended):
            for site in sites:
                if is_async or site is not None:
                    self._answer(place_of_await(site), request)
            request.usage.escaped = request.usage.escaped or not complete or not sites
            request.usage.sent = True
            return True
        name = function_name(file, function) or "a function"
        before = len(self._finished)
        for site in sites if not request.has_operation else extended:
            fork = request.fork()
            fork.caller = site
            arguments = tuple(Place(site.file, node, site.frame) for node in arguments_of(site.node))
            frame = Frame(function, arguments, site.frame)
            _rebind(fork, file, function, frame)
            if self._expression(site, fork, conditional):
                self._finished.append(fork)
        made = self._finished[before:]
        if any(fork.has_operation for fork in made):
            # The others only pass the builder on.
            self._finished[before:] = [fork for fork in made if fork.has_operation]
        if request.has_operation and len(extended) < len(sites):
            for site in sites:
                if site not in extended:
                    self._answer(place_of_await(site), request)
            return True
        request.notes.append(f"the builder is made by {name}")
        return False

    def _given_function(
        self, place: Place, function: Node, arguments: Node, request: Request, conditional: bool
    ) -> bool:
        """``getCached(key, () => builder)``: what the callee does with what its parameter returns."""
        file = place.file
        call = file.parent(arguments)
        callee = call.child_by_field_name("function") if call is not None else None
        request.usage.sent = True
        if call is None or callee is None:
            request.usage.escaped = True
            return True
        if file.string(callee).endswith((".map", ".flatMap")):
            request.usage.escaped = True
            return True
        index = next((i for i, node in enumerate(arguments_of(call)) if unwrap(node).id == function.id), 0)
        for option in options(self.evaluator.value(Place(file, unwrap(callee), place.frame))):
            if not isinstance(option, Function):
                continue
            binding = _parameter(option.place.file, option.place.node, index)
            if binding is None:
                continue
            inside = option.place.file
            for reference in inside.references(binding):
                inner = inside.parent(reference)
                called = inner.child_by_field_name("function") if inner is not None else None
                if inner is not None and called is not None and called.id == reference.id:
                    self._answer(place_of_await(Place(inside, inner)), request)
                    return True
        request.usage.escaped = True
        return True

    def _element(self, place: Place, array: Node, request: Request) -> None:
        """The builder is an element of a list: of ``Promise.all([…])``, or of one that is kept."""
        file = place.file
        outer = file.parent(array)
        call = file.parent(outer) if outer is not None and outer.type == "arguments" else None
        callee = call.child_by_field_name("function") if call is not None else None
        name = file.string(callee) if callee is not None else ""
        elements = [child for child in array.named_children if child.type != "comment"]
        index = next((i for i, child in enumerate(elements) if child.id == place.node.id), 0)
        if call is not None and name == "Promise.all":
            use_element(file, call, index, request.usage)
        elif call is not None and name in ("Promise.race", "Promise.any"):
            self._answer(place_of_await(Place(file, call, place.frame)), request)
        else:
            request.usage.escaped = True
            request.usage.sent = True


def _assignment_to(file: SourceFile, reference: Node) -> Node | None:
    """The assignment whose left side a use of a variable is."""
    above = file.parent(reference)
    if above is None or above.type != "assignment_expression":
        return None
    left = above.child_by_field_name("left")
    return above if left is not None and left.id == reference.id else None


def _keeps(file: SourceFile, assignment: Node, binding: Binding) -> bool:
    """Whether an assignment puts the same builder back, extended: ``q = q.eq(…)``."""
    right = assignment.child_by_field_name("right")
    return right is not None and any(
        right.start_byte <= node.start_byte < right.end_byte
        for node in file.occurrences(file.string(binding.node))
    )


def _reached_only_by(file: SourceFile, reference: Node, assignment: Node) -> bool:
    """Whether a use stands in the same arm as an assignment before it, so that it means the new builder."""
    return not branches.is_conditional(file, assignment, reference)


def place_of_await(site: Place) -> Place:
    """The ``await`` around a call, or the call itself."""
    node = site.file.outside(site.node)
    above = site.file.parent(node)
    if above is not None and above.type == "await_expression":
        return Place(site.file, above, site.frame)
    return site


def _continues(site: Place) -> bool:
    """Whether methods are called on what a call returns."""
    node = site.file.outside(site.node)
    above = site.file.parent(node)
    if above is None or above.type != "member_expression":
        return above is not None and above.type in ("variable_declarator", "assignment_expression")
    name = above.child_by_field_name("property")
    return name is not None and site.file.string(name) not in _PROMISE_METHODS


def _parameter(file: SourceFile, function: Node, index: int) -> Binding | None:
    """The binding of a parameter that is a plain name."""
    parameters = parameters_of(function)
    if index >= len(parameters):
        return None
    node = parameters[index]
    for field_name in ("pattern", "left"):
        node = node.child_by_field_name(field_name) or node
    if node.type != "identifier":
        return None
    return next((item for item in file.bindings(file.string(node)) if item.node.id == node.id), None)


def _rebind(request: Request, file: SourceFile, function: Node, frame: Frame) -> None:
    """Let what was collected inside a function see the arguments of one call of it."""
    request.links = [
        replace(link, place=Place(file, link.place.node, frame))
        if link.place.file is file
        and link.place.frame is None
        and function.start_byte <= link.place.node.start_byte < function.end_byte
        else link
        for link in request.links
    ]


def _is_body(function: Node, node: Node) -> bool:
    body = function.child_by_field_name("body")
    return body is not None and body.id == node.id
