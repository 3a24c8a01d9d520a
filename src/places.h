/* ============================================================================================
 * places: with CONC_SIM, the calls that wait or wake tell where they stand, for the interleaving that a failing
 * simulation prints. (A macro of a function's own name is not expanded within itself.) It stands after the code,
 * which is not to see it; places_off.h, before the code, takes back the same names.
 * ========================================================================================== */

#if defined(CONC_SIM) && !defined(CONC__PLACES_H)
#define CONC__PLACES_H

/* `said` is the call as the user wrote it, but for what its own macro made of it. */
#define CONC__AT(said, ...) (conc__sim_at(__FILE__, __LINE__, said), __VA_ARGS__)

#if defined(CONC_DEBUG)
#undef conc_mutex_lock
#undef conc_mutex_try_lock
#undef conc_mutex_unlock
#undef conc__lock_enter
#define conc_mutex_lock(m, deadline)                                                               \
    CONC__AT("conc_mutex_lock(" #m ", " #deadline ")", conc__mutex_lock_at((m), (deadline), __FILE__, __LINE__))
#define conc_mutex_try_lock(m)                                                                     \
    CONC__AT("conc_mutex_try_lock(" #m ")", conc__mutex_try_lock_at((m), __FILE__, __LINE__))
#define conc_mutex_unlock(m)                                                                       \
    CONC__AT("conc_mutex_unlock(" #m ")", conc__mutex_unlock_at((m), __FILE__, __LINE__))
#define conc__lock_enter(m) CONC__AT("CONC_WITH_LOCK(" #m ")", conc__lock_enter_at((m), __FILE__, __LINE__))
#else
#define conc_mutex_lock(...) CONC__AT("conc_mutex_lock(" #__VA_ARGS__ ")", conc_mutex_lock(__VA_ARGS__))
#define conc_mutex_try_lock(...) \
    CONC__AT("conc_mutex_try_lock(" #__VA_ARGS__ ")", conc_mutex_try_lock(__VA_ARGS__))
#define conc_mutex_unlock(...) CONC__AT("conc_mutex_unlock(" #__VA_ARGS__ ")", conc_mutex_unlock(__VA_ARGS__))
#define conc__lock_enter(m) CONC__AT("CONC_WITH_LOCK(" #m ")", conc__lock_enter(m))
#endif
#define conc_rmutex_lock(...) CONC__AT("conc_rmutex_lock(" #__VA_ARGS__ ")", conc_rmutex_lock(__VA_ARGS__))
#define conc_rmutex_try_lock(...) \
    CONC__AT("conc_rmutex_try_lock(" #__VA_ARGS__ ")", conc_rmutex_try_lock(__VA_ARGS__))
#define conc_rmutex_unlock(...) \
    CONC__AT("conc_rmutex_unlock(" #__VA_ARGS__ ")", conc_rmutex_unlock(__VA_ARGS__))
#define conc_cond_wait(...) CONC__AT("conc_cond_wait(" #__VA_ARGS__ ")", conc_cond_wait(__VA_ARGS__))
#define conc_cond_wait_for(...) \
    CONC__AT("conc_cond_wait_for(" #__VA_ARGS__ ")", conc_cond_wait_for(__VA_ARGS__))
#define conc_cond_signal(...) CONC__AT("conc_cond_signal(" #__VA_ARGS__ ")", conc_cond_signal(__VA_ARGS__))
#define conc_cond_broadcast(...) \
    CONC__AT("conc_cond_broadcast(" #__VA_ARGS__ ")", conc_cond_broadcast(__VA_ARGS__))
#define conc_rwlock_read(...) CONC__AT("conc_rwlock_read(" #__VA_ARGS__ ")", conc_rwlock_read(__VA_ARGS__))
#define conc_rwlock_write(...) CONC__AT("conc_rwlock_write(" #__VA_ARGS__ ")", conc_rwlock_write(__VA_ARGS__))
#define conc_rwlock_unlock(...) \
    CONC__AT("conc_rwlock_unlock(" #__VA_ARGS__ ")", conc_rwlock_unlock(__VA_ARGS__))
#define conc_brlock_read(...) CONC__AT("conc_brlock_read(" #__VA_ARGS__ ")", conc_brlock_read(__VA_ARGS__))
#define conc_brlock_write(...) CONC__AT("conc_brlock_write(" #__VA_ARGS__ ")", conc_brlock_write(__VA_ARGS__))
#define conc_brlock_read_unlock(...) \
    CONC__AT("conc_brlock_read_unlock(" #__VA_ARGS__ ")", conc_brlock_read_unlock(__VA_ARGS__))
#define conc_brlock_write_unlock(...) \
    CONC__AT("conc_brlock_write_unlock(" #__VA_ARGS__ ")", conc_brlock_write_unlock(__VA_ARGS__))
#define conc_semaphore_acquire(...) \
    CONC__AT("conc_semaphore_acquire(" #__VA_ARGS__ ")", conc_semaphore_acquire(__VA_ARGS__))
#define conc_semaphore_release(...) \
    CONC__AT("conc_semaphore_release(" #__VA_ARGS__ ")", conc_semaphore_release(__VA_ARGS__))
#define conc_event_set(...) CONC__AT("conc_event_set(" #__VA_ARGS__ ")", conc_event_set(__VA_ARGS__))
#define conc_event_reset(...) CONC__AT("conc_event_reset(" #__VA_ARGS__ ")", conc_event_reset(__VA_ARGS__))
#define conc_event_wait(...) CONC__AT("conc_event_wait(" #__VA_ARGS__ ")", conc_event_wait(__VA_ARGS__))
#define conc_barrier_wait(...) CONC__AT("conc_barrier_wait(" #__VA_ARGS__ ")", conc_barrier_wait(__VA_ARGS__))
#define conc_barrier_abort(...) \
    CONC__AT("conc_barrier_abort(" #__VA_ARGS__ ")", conc_barrier_abort(__VA_ARGS__))
#define conc_barrier_reset(...) \
    CONC__AT("conc_barrier_reset(" #__VA_ARGS__ ")", conc_barrier_reset(__VA_ARGS__))
#define conc_once_do(...) CONC__AT("conc_once_do(" #__VA_ARGS__ ")", conc_once_do(__VA_ARGS__))
#define conc_latch_add(...) CONC__AT("conc_latch_add(" #__VA_ARGS__ ")", conc_latch_add(__VA_ARGS__))
#define conc_latch_done(...) CONC__AT("conc_latch_done(" #__VA_ARGS__ ")", conc_latch_done(__VA_ARGS__))
#define conc_latch_wait(...) CONC__AT("conc_latch_wait(" #__VA_ARGS__ ")", conc_latch_wait(__VA_ARGS__))
#define conc_queue_new(...) CONC__AT("conc_queue_new(" #__VA_ARGS__ ")", conc_queue_new(__VA_ARGS__))
#define conc_queue_new_ex(...) CONC__AT("conc_queue_new_ex(" #__VA_ARGS__ ")", conc_queue_new_ex(__VA_ARGS__))
#define conc_queue_put_bytes(...) \
    CONC__AT("conc_queue_put_bytes(" #__VA_ARGS__ ")", conc_queue_put_bytes(__VA_ARGS__))
#define conc_queue_get_bytes(...) \
    CONC__AT("conc_queue_get_bytes(" #__VA_ARGS__ ")", conc_queue_get_bytes(__VA_ARGS__))
#define conc_queue_put_many_bytes(...) \
    CONC__AT("conc_queue_put_many_bytes(" #__VA_ARGS__ ")", conc_queue_put_many_bytes(__VA_ARGS__))
#define conc_queue_get_many_bytes(...) \
    CONC__AT("conc_queue_get_many_bytes(" #__VA_ARGS__ ")", conc_queue_get_many_bytes(__VA_ARGS__))
#define conc_queue_close(...) CONC__AT("conc_queue_close(" #__VA_ARGS__ ")", conc_queue_close(__VA_ARGS__))
#define conc_queue_close_now(...) \
    CONC__AT("conc_queue_close_now(" #__VA_ARGS__ ")", conc_queue_close_now(__VA_ARGS__))
#define conc_queue_free(...) CONC__AT("conc_queue_free(" #__VA_ARGS__ ")", conc_queue_free(__VA_ARGS__))
#define conc_queue_task_done(...) \
    CONC__AT("conc_queue_task_done(" #__VA_ARGS__ ")", conc_queue_task_done(__VA_ARGS__))
#define conc_queue_join(...) CONC__AT("conc_queue_join(" #__VA_ARGS__ ")", conc_queue_join(__VA_ARGS__))
#define conc_wait(...) CONC__AT("conc_wait(" #__VA_ARGS__ ")", conc_wait(__VA_ARGS__))
#define conc_try(...) CONC__AT("conc_try(" #__VA_ARGS__ ")", conc_try(__VA_ARGS__))
#define conc_select(...) CONC__AT("conc_select(" #__VA_ARGS__ ")", conc_select(__VA_ARGS__))
#define conc_sleep(...) CONC__AT("conc_sleep(" #__VA_ARGS__ ")", conc_sleep(__VA_ARGS__))
#define conc_cancel_fire(...) CONC__AT("conc_cancel_fire(" #__VA_ARGS__ ")", conc_cancel_fire(__VA_ARGS__))
#define conc_thread_start(...) CONC__AT("conc_thread_start(" #__VA_ARGS__ ")", conc_thread_start(__VA_ARGS__))
#define conc_thread_join(...) CONC__AT("conc_thread_join(" #__VA_ARGS__ ")", conc_thread_join(__VA_ARGS__))
#define conc_thread_detach(...) \
    CONC__AT("conc_thread_detach(" #__VA_ARGS__ ")", conc_thread_detach(__VA_ARGS__))
#define conc_thread_join_all(...) \
    CONC__AT("conc_thread_join_all(" #__VA_ARGS__ ")", conc_thread_join_all(__VA_ARGS__))
#define conc_thread_yield() CONC__AT("conc_thread_yield()", conc_thread_yield())
#define conc_local_set(...) CONC__AT("conc_local_set(" #__VA_ARGS__ ")", conc_local_set(__VA_ARGS__))
#define conc_timer_start(...) CONC__AT("conc_timer_start(" #__VA_ARGS__ ")", conc_timer_start(__VA_ARGS__))
#define conc_timer_cancel(...) CONC__AT("conc_timer_cancel(" #__VA_ARGS__ ")", conc_timer_cancel(__VA_ARGS__))
#define conc_timer_release(...) \
    CONC__AT("conc_timer_release(" #__VA_ARGS__ ")", conc_timer_release(__VA_ARGS__))
#define conc_lookup(...) CONC__AT("conc_lookup(" #__VA_ARGS__ ")", conc_lookup(__VA_ARGS__))
#define conc_tcp_listen(...) CONC__AT("conc_tcp_listen(" #__VA_ARGS__ ")", conc_tcp_listen(__VA_ARGS__))
#define conc_tcp_connect(...) CONC__AT("conc_tcp_connect(" #__VA_ARGS__ ")", conc_tcp_connect(__VA_ARGS__))
#define conc_udp_bind(...) CONC__AT("conc_udp_bind(" #__VA_ARGS__ ")", conc_udp_bind(__VA_ARGS__))
#define conc_accept(...) CONC__AT("conc_accept(" #__VA_ARGS__ ")", conc_accept(__VA_ARGS__))
#define conc_receive(...) CONC__AT("conc_receive(" #__VA_ARGS__ ")", conc_receive(__VA_ARGS__))
#define conc_receive_full(...) CONC__AT("conc_receive_full(" #__VA_ARGS__ ")", conc_receive_full(__VA_ARGS__))
#define conc_send_all(...) CONC__AT("conc_send_all(" #__VA_ARGS__ ")", conc_send_all(__VA_ARGS__))
#define conc_receive_from(...) CONC__AT("conc_receive_from(" #__VA_ARGS__ ")", conc_receive_from(__VA_ARGS__))
#define conc_send_to(...) CONC__AT("conc_send_to(" #__VA_ARGS__ ")", conc_send_to(__VA_ARGS__))
#define conc_socket_close(...) CONC__AT("conc_socket_close(" #__VA_ARGS__ ")", conc_socket_close(__VA_ARGS__))
#define conc_socket_free(...) CONC__AT("conc_socket_free(" #__VA_ARGS__ ")", conc_socket_free(__VA_ARGS__))
#define conc_loop_run(...) CONC__AT("conc_loop_run(" #__VA_ARGS__ ")", conc_loop_run(__VA_ARGS__))
#define conc_loop_stop(...) CONC__AT("conc_loop_stop(" #__VA_ARGS__ ")", conc_loop_stop(__VA_ARGS__))
#define conc_loop_cancel(...) CONC__AT("conc_loop_cancel(" #__VA_ARGS__ ")", conc_loop_cancel(__VA_ARGS__))
#define conc_loop_post(...) CONC__AT("conc_loop_post(" #__VA_ARGS__ ")", conc_loop_post(__VA_ARGS__))
#define conc_loop_free(...) CONC__AT("conc_loop_free(" #__VA_ARGS__ ")", conc_loop_free(__VA_ARGS__))
#define conc_task_join(...) CONC__AT("conc_task_join(" #__VA_ARGS__ ")", conc_task_join(__VA_ARGS__))
#define conc_task_join_all(...) CONC__AT("conc_task_join_all(" #__VA_ARGS__ ")", conc_task_join_all(__VA_ARGS__))
#define conc_task_detach(...) CONC__AT("conc_task_detach(" #__VA_ARGS__ ")", conc_task_detach(__VA_ARGS__))
#define conc_task_cancel(...) CONC__AT("conc_task_cancel(" #__VA_ARGS__ ")", conc_task_cancel(__VA_ARGS__))
#define conc_group_wait(...) CONC__AT("conc_group_wait(" #__VA_ARGS__ ")", conc_group_wait(__VA_ARGS__))
#define conc_group_cancel(...) CONC__AT("conc_group_cancel(" #__VA_ARGS__ ")", conc_group_cancel(__VA_ARGS__))
#define conc_group_free(...) CONC__AT("conc_group_free(" #__VA_ARGS__ ")", conc_group_free(__VA_ARGS__))
#define conc_future_wait(...) CONC__AT("conc_future_wait(" #__VA_ARGS__ ")", conc_future_wait(__VA_ARGS__))
#define conc_future_cancel(...) \
    CONC__AT("conc_future_cancel(" #__VA_ARGS__ ")", conc_future_cancel(__VA_ARGS__))
#define conc_future_complete(...) \
    CONC__AT("conc_future_complete(" #__VA_ARGS__ ")", conc_future_complete(__VA_ARGS__))
#define conc_future_then(...) CONC__AT("conc_future_then(" #__VA_ARGS__ ")", conc_future_then(__VA_ARGS__))
#define conc_future_release(...) \
    CONC__AT("conc_future_release(" #__VA_ARGS__ ")", conc_future_release(__VA_ARGS__))
#define conc_wait_all(...) CONC__AT("conc_wait_all(" #__VA_ARGS__ ")", conc_wait_all(__VA_ARGS__))
#define conc_wait_any(...) CONC__AT("conc_wait_any(" #__VA_ARGS__ ")", conc_wait_any(__VA_ARGS__))
#define conc_pool_run(...) CONC__AT("conc_pool_run(" #__VA_ARGS__ ")", conc_pool_run(__VA_ARGS__))
#define conc_pool_submit(...) CONC__AT("conc_pool_submit(" #__VA_ARGS__ ")", conc_pool_submit(__VA_ARGS__))
#define conc_pool_run_ex(...) CONC__AT("conc_pool_run_ex(" #__VA_ARGS__ ")", conc_pool_run_ex(__VA_ARGS__))
#define conc_pool_submit_ex(...) \
    CONC__AT("conc_pool_submit_ex(" #__VA_ARGS__ ")", conc_pool_submit_ex(__VA_ARGS__))
#define conc_pool_submit_at(...) \
    CONC__AT("conc_pool_submit_at(" #__VA_ARGS__ ")", conc_pool_submit_at(__VA_ARGS__))
#define conc_pool_every(...) CONC__AT("conc_pool_every(" #__VA_ARGS__ ")", conc_pool_every(__VA_ARGS__))
#define conc_pool_close(...) CONC__AT("conc_pool_close(" #__VA_ARGS__ ")", conc_pool_close(__VA_ARGS__))
#define conc_pool_close_now(...) \
    CONC__AT("conc_pool_close_now(" #__VA_ARGS__ ")", conc_pool_close_now(__VA_ARGS__))
#define conc_pool_join(...) CONC__AT("conc_pool_join(" #__VA_ARGS__ ")", conc_pool_join(__VA_ARGS__))
#define conc_pool_free(...) CONC__AT("conc_pool_free(" #__VA_ARGS__ ")", conc_pool_free(__VA_ARGS__))
#define conc_pool_finish(...) CONC__AT("conc_pool_finish(" #__VA_ARGS__ ")", conc_pool_finish(__VA_ARGS__))
#define conc_pool_resize(...) CONC__AT("conc_pool_resize(" #__VA_ARGS__ ")", conc_pool_resize(__VA_ARGS__))
#define conc_pool_set_keep_alive(...) \
    CONC__AT("conc_pool_set_keep_alive(" #__VA_ARGS__ ")", conc_pool_set_keep_alive(__VA_ARGS__))
#define conc_pool_prestart(...) \
    CONC__AT("conc_pool_prestart(" #__VA_ARGS__ ")", conc_pool_prestart(__VA_ARGS__))
#define conc_pool_call(...) CONC__AT("conc_pool_call(" #__VA_ARGS__ ")", conc_pool_call(__VA_ARGS__))
#define conc_job_fork(...) CONC__AT("conc_job_fork(" #__VA_ARGS__ ")", conc_job_fork(__VA_ARGS__))
#define conc_job_join(...) CONC__AT("conc_job_join(" #__VA_ARGS__ ")", conc_job_join(__VA_ARGS__))
#define conc_pool_invoke(...) CONC__AT("conc_pool_invoke(" #__VA_ARGS__ ")", conc_pool_invoke(__VA_ARGS__))
#define conc_pool_group_run(...) \
    CONC__AT("conc_pool_group_run(" #__VA_ARGS__ ")", conc_pool_group_run(__VA_ARGS__))
#define conc_pool_group_wait(...) \
    CONC__AT("conc_pool_group_wait(" #__VA_ARGS__ ")", conc_pool_group_wait(__VA_ARGS__))
#define conc_pool_group_cancel(...) \
    CONC__AT("conc_pool_group_cancel(" #__VA_ARGS__ ")", conc_pool_group_cancel(__VA_ARGS__))
#define conc_pool_group_end(...) \
    CONC__AT("conc_pool_group_end(" #__VA_ARGS__ ")", conc_pool_group_end(__VA_ARGS__))
#define conc_pool_for(...) CONC__AT("conc_pool_for(" #__VA_ARGS__ ")", conc_pool_for(__VA_ARGS__))
#define conc_pool_reduce_bytes(...) \
    CONC__AT("conc_pool_reduce_bytes(" #__VA_ARGS__ ")", conc_pool_reduce_bytes(__VA_ARGS__))
#define conc_pool_sort(...) CONC__AT("conc_pool_sort(" #__VA_ARGS__ ")", conc_pool_sort(__VA_ARGS__))
#define conc_pool_map_bytes(...) \
    CONC__AT("conc_pool_map_bytes(" #__VA_ARGS__ ")", conc_pool_map_bytes(__VA_ARGS__))
#define conc_procpool_run(...) \
    CONC__AT("conc_procpool_run(" #__VA_ARGS__ ")", conc_procpool_run(__VA_ARGS__))
#define conc_procpool_submit(...) \
    CONC__AT("conc_procpool_submit(" #__VA_ARGS__ ")", conc_procpool_submit(__VA_ARGS__))
#define conc_procpool_run_ex(...) \
    CONC__AT("conc_procpool_run_ex(" #__VA_ARGS__ ")", conc_procpool_run_ex(__VA_ARGS__))
#define conc_procpool_submit_ex(...) \
    CONC__AT("conc_procpool_submit_ex(" #__VA_ARGS__ ")", conc_procpool_submit_ex(__VA_ARGS__))
#define conc_procpool_call(...) \
    CONC__AT("conc_procpool_call(" #__VA_ARGS__ ")", conc_procpool_call(__VA_ARGS__))
#define conc_procpool_kill(...) \
    CONC__AT("conc_procpool_kill(" #__VA_ARGS__ ")", conc_procpool_kill(__VA_ARGS__))
#define conc_procpool_map_bytes(...) \
    CONC__AT("conc_procpool_map_bytes(" #__VA_ARGS__ ")", conc_procpool_map_bytes(__VA_ARGS__))
#define conc_procpool_close(...) \
    CONC__AT("conc_procpool_close(" #__VA_ARGS__ ")", conc_procpool_close(__VA_ARGS__))
#define conc_procpool_close_now(...) \
    CONC__AT("conc_procpool_close_now(" #__VA_ARGS__ ")", conc_procpool_close_now(__VA_ARGS__))
#define conc_procpool_terminate(...) \
    CONC__AT("conc_procpool_terminate(" #__VA_ARGS__ ")", conc_procpool_terminate(__VA_ARGS__))
#define conc_procpool_join(...) \
    CONC__AT("conc_procpool_join(" #__VA_ARGS__ ")", conc_procpool_join(__VA_ARGS__))
#define conc_procpool_free(...) \
    CONC__AT("conc_procpool_free(" #__VA_ARGS__ ")", conc_procpool_free(__VA_ARGS__))
#define conc_procpool_finish(...) \
    CONC__AT("conc_procpool_finish(" #__VA_ARGS__ ")", conc_procpool_finish(__VA_ARGS__))
#define conc__co_go(...) CONC__AT("CONC_GO(...)", conc__co_go(__VA_ARGS__))
#define conc__co_await(task, op, deadline, catches) \
    CONC__AT("CO_AWAIT(" #op ")", conc__co_await((task), op, (deadline), (catches)))
#define conc__co_await_any(task, ops, n, deadline) \
    CONC__AT("CO_AWAIT_ANY(" #ops ", " #n ")", conc__co_await_any((task), ops, n, (deadline)))

#endif
