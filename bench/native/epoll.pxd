"""The part of epoll that the load generator uses; `epoll_pwait2` waits to the nanosecond."""

from libc.stdint cimport uint32_t
from posix.time cimport timespec


cdef extern from "sys/epoll.h" nogil:
    enum:
        EPOLLIN
        EPOLLOUT
        EPOLLET
        EPOLL_CTL_ADD
        EPOLL_CLOEXEC
    ctypedef union epoll_data_t:
        void *ptr
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event *event)
    int epoll_pwait2(int epfd, epoll_event *events, int count, const timespec *timeout,
                     const void *sigmask)
